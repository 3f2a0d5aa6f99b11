# The timeouts, in seconds. Each must be shorter than the next; otherwise Pub/Sub redelivers a message while the service
# is still processing its first delivery.
#
#   upstream < request < Cloud Run's timeout < ack deadline < retry …
#   termination: 8 s of gunicorn's grace < Cloud Run's 10 s between TERM and KILL, which cannot be changed
#
# tests/test_infra.py compares the first two with the service's code, infra/tests check the order.
locals {
  upstream_seconds     = 10 # CALL_SECONDS in service/serving/upstream.py: one call to Segment or commercetools
  request_seconds      = 28 # REQUEST_SECONDS in service/app.py: then the service stops waiting for an answer
  timeout_seconds      = 45 # Cloud Run ends the request with 504
  ack_deadline_seconds = 60 # Pub/Sub ends the push and redelivers the message
  retry_min_seconds    = 10
  retry_max_seconds    = 600
  retry_attempts       = 100 # most of a day, with the waits above; the maximum of Pub/Sub

  message_retention_seconds     = 7 * 24 * 60 * 60  # an outage of this length loses nothing
  dead_letter_retention_seconds = 31 * 24 * 60 * 60 # the maximum of Pub/Sub
}
