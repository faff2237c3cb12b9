"""What must outlive the process, on SQLAlchemy. `sql_store.open_store` is the way in."""
