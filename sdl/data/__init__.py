"""Who wants the documents hears of them after the journal has them."""
