"""Notifications: rules say who is told of what, a durable outbox holds what is to be told, the notifier sends it."""
