"""The compiler as it is, but for what it measures of itself."""

from torch._dynamo import guards

# 25 ms for each graph: the processor's caches are flushed, and a log has the time that is taken.
guards.profile_guard_manager = lambda *args: 0
