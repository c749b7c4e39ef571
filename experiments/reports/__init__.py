"""Reports on finished runs for people: tables, figures and lists."""
