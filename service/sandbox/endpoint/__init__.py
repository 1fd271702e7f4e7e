"""The endpoints: send, reports and logs, scenarios, control, inbox and page."""
