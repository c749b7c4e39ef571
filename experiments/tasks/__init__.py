"""What a brand and a witness do with the list of published tasks, on machines that are not the server."""
