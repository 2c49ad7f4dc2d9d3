"""Drop-in endpoints: the services that people run already, answered by lrm's heads."""
