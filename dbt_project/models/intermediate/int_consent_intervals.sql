-- The state of consent over time for each unit and scope: a reason for each interval, null where use is permitted.
{{ consent_intervals(ref('int_grantors'), ref('int_units')) }}
