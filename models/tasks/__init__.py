"""Published tasks: what devices may be asked, known to everybody before it is asked."""
