"""A RabbitMQ node of its own for the demonstration."""
