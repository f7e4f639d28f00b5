"""What a capture found, on its way to disk: records, phases, histories and the data of pictures."""
