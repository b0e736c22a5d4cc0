"""Makes and judges bundles. Imports the leaves of `service`; `service` never imports this."""
