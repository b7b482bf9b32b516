"""What every area uses; it imports no area."""
