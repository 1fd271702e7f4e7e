"""OMNI Relay: send requests from RabbitMQ to OMNI, status events back."""
