"""The only place with SQL. Every read for a person goes through a statement already scoped to that person."""
