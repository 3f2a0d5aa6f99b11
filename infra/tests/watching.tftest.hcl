# What is looked at: the service's own outcomes, and the subscriptions by their names.
mock_provider "google" {
  source = "./tests/mocks"
}

run "alerts_and_dashboard_look_at_what_is_there" {
  assert {
    condition = alltrue([
      for tile in jsondecode(google_monitoring_dashboard.dashboard.dashboard_json).mosaicLayout.tiles : alltrue([
        for set in tile.widget.xyChart.dataSets : anytrue([
          for name in [google_pubsub_subscription.push.name, google_pubsub_subscription.dead_letters.name, google_cloud_run_v2_service.service.name, google_cloud_run_v2_job.job["backfill"].name] :
          strcontains(set.timeSeriesQuery.timeSeriesFilter.filter, "\"${name}\"")
        ])
      ])
    ])
    error_message = "a tile shows nothing that this configuration makes"
  }
  assert {
    condition     = strcontains(google_monitoring_dashboard.dashboard.dashboard_json, "logging.googleapis.com/user/${google_logging_metric.messages.name}")
    error_message = "the dashboard does not show the outcomes"
  }
  assert {
    condition     = strcontains(google_monitoring_dashboard.dashboard.dashboard_json, "logging.googleapis.com/user/${google_logging_metric.segment_calls.name}")
    error_message = "the dashboard does not show how calls are shared"
  }
  assert {
    condition     = alltrue([for metric in google_logging_metric.backfill : strcontains(google_monitoring_dashboard.dashboard.dashboard_json, "logging.googleapis.com/user/${metric.name}")])
    error_message = "the dashboard does not show how far a backfill is"
  }
}

run "every_alert_tells_somebody" {
  assert {
    condition = alltrue([
      for policy in [
        google_monitoring_alert_policy.dead_letters, google_monitoring_alert_policy.oldest_message, google_monitoring_alert_policy.failed,
        google_monitoring_alert_policy.push_refused, google_monitoring_alert_policy.push_failed,
      ] : length(policy.notification_channels) == 1
    ])
    error_message = "an alert tells nobody"
  }
}
