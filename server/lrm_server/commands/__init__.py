"""What the commands of ``lrm`` do, below the command line that reads their arguments."""
