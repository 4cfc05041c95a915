"""The further commands of ``fourparty``, a module for each group; each adds itself to the application."""
