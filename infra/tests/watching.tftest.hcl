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

run "every_alert_tells_somebody_and_names_its_section_and_the_dashboard" {
  assert {
    condition = alltrue([
      for policy in [
        google_monitoring_alert_policy.dead_letters, google_monitoring_alert_policy.oldest_message, google_monitoring_alert_policy.failed,
        google_monitoring_alert_policy.push_refused, google_monitoring_alert_policy.push_failed,
      ] : length(policy.notification_channels) == 1
    ])
    error_message = "an alert tells nobody"
  }
  assert {
    condition = alltrue([
      for policy in [
        google_monitoring_alert_policy.dead_letters, google_monitoring_alert_policy.oldest_message, google_monitoring_alert_policy.failed,
        google_monitoring_alert_policy.push_refused, google_monitoring_alert_policy.push_failed,
      ] : strcontains(policy.documentation[0].content, "(https://console.cloud.google.com/monitoring/dashboards/builder/${basename(google_monitoring_dashboard.dashboard.id)}?project=shop)")
    ])
    error_message = "an alert does not link the dashboard"
  }
  assert {
    condition     = endswith(split("\n", google_monitoring_alert_policy.dead_letters.documentation[0].content)[2], "docs/operations.md, Dead letters")
    error_message = "without runbook_url an alert does not name its section"
  }
}

run "with_a_runbook_every_alert_links_its_section" {
  variables {
    runbook_url = "https://docs.example.com/operations.md"
  }
  assert {
    condition = alltrue([
      for anchor, policy in {
        dead-letters                    = google_monitoring_alert_policy.dead_letters
        oldest-message                  = google_monitoring_alert_policy.oldest_message
        failed-messages                 = google_monitoring_alert_policy.failed
        pushes-answered-4xx             = google_monitoring_alert_policy.push_refused
        pushes-answered-5xx-or-too-late = google_monitoring_alert_policy.push_failed
        the-check-failed                = google_monitoring_alert_policy.check_failed
      } : strcontains(policy.documentation[0].content, "](https://docs.example.com/operations.md#${anchor})")
    ])
    error_message = "an alert does not link its section"
  }
}

run "a_page_is_told_to_more_than_a_ticket" {
  variables {
    alert_channels = ["projects/shop/notificationChannels/1"]
    page_channels  = ["projects/shop/notificationChannels/2"]
  }
  assert {
    condition = alltrue([
      for policy in [google_monitoring_alert_policy.oldest_message, google_monitoring_alert_policy.push_refused] :
      policy.severity == "CRITICAL" && length(policy.notification_channels) == 3
    ])
    error_message = "a page does not reach who is on call"
  }
  assert {
    condition = alltrue([
      for policy in [google_monitoring_alert_policy.dead_letters, google_monitoring_alert_policy.failed, google_monitoring_alert_policy.push_failed] :
      policy.severity != "CRITICAL" && length(policy.notification_channels) == 2 && !contains(policy.notification_channels, "projects/shop/notificationChannels/2")
    ])
    error_message = "what can wait for the morning wakes somebody"
  }
}

run "a_channel_and_a_runbook_have_their_form" {
  command = plan
  variables {
    alert_channels = ["#alerts"]
    page_channels  = ["pagerduty"]
    runbook_url    = "https://docs.example.com/operations.md#dead-letters"
  }
  expect_failures = [var.alert_channels, var.page_channels, var.runbook_url]
}
