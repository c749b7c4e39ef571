"""What scores items for a shopper: the models, and what they need of a catalogue."""
