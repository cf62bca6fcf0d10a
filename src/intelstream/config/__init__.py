"""From YAML files to checked specs, with every fault in one list."""
