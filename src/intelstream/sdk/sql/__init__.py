"""Events in tables of a database: columns of the ontology, rows of events, and the databases that take them."""
