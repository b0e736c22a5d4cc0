"""What a GPU gives: the engine, torch beside it and the service, against the card's own matrix rate."""
