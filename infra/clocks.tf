# The timeouts, in seconds. Each must end before the next one, or a message is redelivered during its first delivery.
#
#   upstream < request < Cloud Run's timeout < ack deadline < retry …
#   termination: 8 s of gunicorn's grace < Cloud Run's 10 s between TERM and KILL, which cannot be set
#
# tests/test_infra.py holds the first two against the service's code, infra/tests hold the order.
locals {
  upstream_seconds     = 10 # CALL_SECONDS in service/serving/upstream.py: one call to Segment or commercetools
  request_seconds      = 28 # REQUEST_SECONDS in service/app.py: after it no answer is waited for
  timeout_seconds      = 45 # Cloud Run ends the request with 504
  ack_deadline_seconds = 60 # Pub/Sub gives the push up and sends it again
  retry_min_seconds    = 10
  retry_max_seconds    = 600
  retry_attempts       = 100 # with the waits above most of a day; the most that Pub/Sub can count

  message_retention_seconds     = 7 * 24 * 60 * 60  # of an outage that long nothing is lost
  dead_letter_retention_seconds = 31 * 24 * 60 * 60 # the longest there is
}
