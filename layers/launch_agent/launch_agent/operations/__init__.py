"""What an operator needs: repairs."""
