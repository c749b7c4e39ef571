"""What people read of finished runs: tables, figures, lists."""
