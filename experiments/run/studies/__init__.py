"""Programs that measure: their interface, and studies of sections with claims.

Files in import order:

study     interface and runner of the programs that measure
sections  a study of sections with claims, verdicts and figures
"""
