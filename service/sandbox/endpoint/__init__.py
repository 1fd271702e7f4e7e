"""The endpoints: send, reports and logs, scenarios, control."""
