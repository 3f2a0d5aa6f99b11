# What is looked at: the service's own outcomes, and the subscriptions by their names.
mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
  mock_resource "google_cloud_run_v2_service" {
    defaults = {
      urls = [
        "https://commercetools-segment-abcdefghij-ew.a.run.app",
        "https://commercetools-segment-123456789012.europe-west1.run.app",
      ]
    }
  }
  mock_resource "google_service_account" {
    defaults = {
      email  = "an-account@shop.iam.gserviceaccount.com"
      member = "serviceAccount:an-account@shop.iam.gserviceaccount.com"
    }
  }
  override_resource {
    target = google_service_account.push
    values = {
      email  = "push@shop.iam.gserviceaccount.com"
      member = "serviceAccount:push@shop.iam.gserviceaccount.com"
    }
  }
}

variables {
  project         = "shop"
  region          = "europe-west1"
  segment_region  = "eu"
  segment_user_id = "id"
  alert_emails    = ["shop@example.com"]
  commercetools = {
    project_key = "shop"
    client_id   = "client"
    region      = "europe-west1.gcp"
  }
}

run "alerts_and_dashboard_look_at_what_is_there" {
  assert {
    condition = alltrue([
      for tile in jsondecode(google_monitoring_dashboard.dashboard.dashboard_json).mosaicLayout.tiles : alltrue([
        for set in tile.widget.xyChart.dataSets : anytrue([
          for name in [google_pubsub_subscription.push.name, google_pubsub_subscription.dead_letters.name, google_cloud_run_v2_service.service.name] :
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
