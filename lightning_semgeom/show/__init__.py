"""Records as people see them: loggers, pictures, reports, tables and workspaces."""
