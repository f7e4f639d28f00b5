from tests.hub import hub, hub_server

__all__ = ["hub", "hub_server"]
