"""One run, from its settings to a finished folder, and the engines that it runs on."""
