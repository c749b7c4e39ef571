"""terry tune: settings searched on a validation split, with every trial recorded."""
