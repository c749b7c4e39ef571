"""What runs on a device: its events, its training, its noise, its ledger."""
