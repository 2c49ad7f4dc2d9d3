"""What running a server takes: metrics, health, the token, logging."""
