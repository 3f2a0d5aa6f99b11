# The alerts, and who receives them. docs/operations.md says for each alert what it means and what to do.
#
# Two alerts wake somebody (severity CRITICAL): Segment is behind, whatever the cause, and pushes are rejected, which does
# not end by itself. The others can wait for the morning: Pub/Sub redelivers, and keeps a dead letter for 31 days.

resource "google_monitoring_notification_channel" "email" {
  for_each = var.alert_emails

  display_name = "commercetools-segment: ${each.value}"
  type         = "email"
  labels       = { email_address = each.value }
  depends_on   = [google_project_service.api]
}

locals {
  tickets = concat([for channel in google_monitoring_notification_channel.email : channel.id], tolist(var.alert_channels))
  pages   = concat(local.tickets, tolist(var.page_channels))

  # The section of each alert in docs/operations.md.
  sections = {
    dead_letters   = "Dead letters"
    oldest_message = "Oldest message"
    failed         = "Failed messages"
    push_refused   = "Pushes answered 4xx"
    push_failed    = "Pushes answered 5xx or too late"
    check_failed   = "The check failed"
  }
  dashboard = "[Dashboard](https://console.cloud.google.com/monitoring/dashboards/builder/${basename(google_monitoring_dashboard.dashboard.id)}?project=${var.project})"
  links = {
    for alert, section in local.sections : alert => join("\n\n", [
      var.runbook_url == "" ? "docs/operations.md, ${section}" :
      "[docs/operations.md, ${section}](${var.runbook_url}#${replace(lower(section), " ", "-")})",
      local.dashboard,
    ])
  }

  of_push         = "resource.type=\"pubsub_subscription\" resource.label.subscription_id=\"${google_pubsub_subscription.push.name}\""
  of_dead_letters = "resource.type=\"pubsub_subscription\" resource.label.subscription_id=\"${google_pubsub_subscription.dead_letters.name}\""
  of_service      = "resource.type=\"cloud_run_revision\" resource.label.service_name=\"${local.name}\""
  messages        = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.messages.name}\" ${local.of_service}"
  of_check        = "metric.type=\"run.googleapis.com/job/completed_execution_count\" resource.type=\"cloud_run_job\" resource.label.job_name=\"${local.job_names["check"]}\""
  pushes          = "metric.type=\"pubsub.googleapis.com/subscription/push_request_count\" ${local.of_push}"
}

resource "google_monitoring_alert_policy" "dead_letters" {
  display_name          = "commercetools-segment: dead letters"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.tickets

  conditions {
    display_name = "A message is in the dead-letter subscription"
    condition_threshold {
      filter          = "metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\" ${local.of_dead_letters}"
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    subject = "commercetools-segment: a message was set aside"
    content = "A message is unreadable, or failed a hundred times. It is kept for 31 days.\n\n${local.links.dead_letters}"
  }
}

resource "google_monitoring_alert_policy" "oldest_message" {
  display_name          = "commercetools-segment: oldest message"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.pages

  conditions {
    display_name = "A message has waited for more than ${var.oldest_message_minutes} minutes"
    condition_threshold {
      filter          = "metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\" ${local.of_push}"
      comparison      = "COMPARISON_GT"
      threshold_value = var.oldest_message_minutes * 60
      duration        = "0s"
      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    subject = "commercetools-segment: Segment is behind"
    content = "Segment is ${var.oldest_message_minutes} minutes or more behind commercetools for at least one customer or order.\n\n${local.links.oldest_message}"
  }
}

resource "google_monitoring_alert_policy" "failed" {
  display_name          = "commercetools-segment: failed messages"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.tickets

  conditions {
    display_name = "More than ${var.failed_percent} % of the messages fail"
    condition_threshold {
      filter             = "${local.messages} metric.label.outcome=\"Failed\""
      denominator_filter = local.messages
      comparison         = "COMPARISON_GT"
      threshold_value    = var.failed_percent / 100
      duration           = "600s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
      denominator_aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    subject = "commercetools-segment: messages fail"
    content = "The service cannot reach Segment or commercetools, or they refuse its credentials. Pub/Sub redelivers automatically.\n\n${local.links.failed}"
  }
}

resource "google_monitoring_alert_policy" "push_refused" {
  display_name          = "commercetools-segment: pushes answered 4xx"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.pages

  conditions {
    display_name = "Pushes are answered 4xx"
    condition_threshold {
      filter          = "${local.pushes} metric.label.response_class=\"remote_server_4xx\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "300s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    subject = "commercetools-segment: pushes are turned away"
    content = "Cloud Run or the service refuses the subscription's pushes; this does not end by itself.\n\n${local.links.push_refused}"
  }
}

resource "google_monitoring_alert_policy" "push_failed" {
  display_name          = "commercetools-segment: pushes answered 5xx or too late"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.tickets

  conditions {
    display_name = "More than ${var.failed_percent} % of the pushes are answered 5xx or too late"
    condition_threshold {
      filter             = "${local.pushes} metric.label.response_class=one_of(\"remote_server_5xx\", \"deadline_exceeded\")"
      denominator_filter = local.pushes
      comparison         = "COMPARISON_GT"
      threshold_value    = var.failed_percent / 100
      duration           = "600s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
      denominator_aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    subject = "commercetools-segment: pushes fail"
    content = "Pub/Sub measures this, so the alert opens even if the service cannot start or log.\n\n${local.links.push_failed}"
  }
}

# The jobs.

resource "google_monitoring_alert_policy" "check_failed" {
  display_name          = "commercetools-segment: the check failed"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.tickets

  conditions {
    display_name = "An execution of the check failed"
    condition_threshold {
      filter          = "${local.of_check} metric.label.result=\"failed\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  # 23.5 hours is the longest that Cloud Monitoring takes, so the check runs twice a day, and may fail to start once.
  # https://cloud.google.com/monitoring/alerts/metric-absence
  conditions {
    display_name = "The check has not run for 23.5 hours"
    condition_absent {
      filter   = local.of_check
      duration = "84600s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    subject = "commercetools-segment: the check failed, or did not run"
    content = "Something in the configuration of commercetools, Segment or Google is wrong, or the check cannot be started.\n\n${local.links.check_failed}"
  }
}
