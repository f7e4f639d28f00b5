"""Who shares what: which row of a site has which value of which attribute."""
