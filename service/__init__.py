"""The service: HTTP in, verdict out. No torch anywhere."""
