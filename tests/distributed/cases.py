"""The jobs whose figures are compared with those of one process, by number of processes."""

JOBS = {
    2: [
        "ddp",
        "ddp_probe",
        "fsdp2",
        "fsdp2_probe",
        "fsdp2_tied",
        "tensor_rows",
        "tensor_columns",
        "ddp_double",
        "ddp_raise",
        "ddp_hidden_alone",
        "ddp_accumulated",
        "ddp_bf16",
        "ddp_two_optimizers",
        "ddp_checkpointed",
        "ddp_compiled",
        "fsdp2_compiled",
        "ddp_resumed",
        "fsdp2_double",
        "fsdp1",
        "fsdp1_probe",
        "fsdp1_wrapped_by_the_user",
    ],
    3: ["ddp", "ddp_probe", "ddp_accumulated", "fsdp2", "fsdp2_empty_shard", "fsdp1"],
    4: ["two_dimensions"],
}
CASES = [(size, name) for size, names in JOBS.items() for name in names]
# In one process nothing is split: the same run as another job's, of which one is enough.
ALONE = {
    "ddp_resumed": "ddp",
    "fsdp2": "ddp",
    "tensor_rows": "ddp",
    "tensor_columns": "ddp",
    "two_dimensions": "ddp",
    "fsdp1": "ddp",
    "fsdp1_wrapped_by_the_user": "ddp",
    "fsdp2_compiled": "ddp",
    "fsdp2_probe": "ddp_probe",
    "fsdp1_probe": "ddp_probe",
    "fsdp2_double": "ddp_double",
}
