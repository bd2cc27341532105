"""What every command uses and none owns. Nothing here imports a heavy library."""
