"""What every other part may use: plain helpers that know nothing of databases, sites or releases."""
