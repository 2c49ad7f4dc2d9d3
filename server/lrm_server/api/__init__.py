"""The transports: gRPC and HTTP. They translate and nothing else."""
