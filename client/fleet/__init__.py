"""How devices reach a server: the process that serves them, and the Flower interface it speaks."""
