"""What runs in processes of its own beside the relay: a bot, an upstream."""
