# Every clock ends before the next; clocks.tf says why.
mock_provider "google" {
  source = "./tests/mocks"
}

run "the_clocks_nest" {
  assert {
    condition     = local.upstream_seconds < local.request_seconds
    error_message = "a request ends before its call to an upstream"
  }
  assert {
    condition     = local.request_seconds < tonumber(trimsuffix(google_cloud_run_v2_service.service.template[0].timeout, "s"))
    error_message = "Cloud Run ends a request before the service does"
  }
  assert {
    condition     = tonumber(trimsuffix(google_cloud_run_v2_service.service.template[0].timeout, "s")) < google_pubsub_subscription.push.ack_deadline_seconds
    error_message = "Pub/Sub sends a message again while its first delivery still works"
  }
}

run "a_message_is_tried_for_most_of_a_day_and_kept_for_a_week" {
  assert {
    condition     = google_pubsub_subscription.push.retry_policy[0].minimum_backoff == "10s" && google_pubsub_subscription.push.retry_policy[0].maximum_backoff == "600s"
    error_message = "the waits between deliveries are not 10 s to 600 s"
  }
  assert {
    condition     = google_pubsub_subscription.push.dead_letter_policy[0].max_delivery_attempts == 100
    error_message = "a message is not tried a hundred times"
  }
  assert {
    condition     = google_pubsub_subscription.push.message_retention_duration == "604800s"
    error_message = "a message is not kept for 7 days"
  }
  assert {
    condition     = 100 * 600 < tonumber(trimsuffix(google_pubsub_subscription.push.message_retention_duration, "s"))
    error_message = "a message would be dropped before it has been tried a hundred times"
  }
}

run "an_instance_takes_no_more_pushes_than_its_worker_holds" {
  assert {
    condition     = google_cloud_run_v2_service.service.template[0].max_instance_request_concurrency <= 500
    error_message = "beyond half of gunicorn's worker_connections pushes may wait inside gunicorn"
  }
}

run "probes_ask_the_path_that_answers" {
  assert {
    condition     = google_cloud_run_v2_service.service.template[0].containers[0].startup_probe[0].http_get[0].path == "/health" && google_cloud_run_v2_service.service.template[0].containers[0].liveness_probe[0].http_get[0].path == "/health"
    error_message = "a probe asks another path than /health"
  }
}
