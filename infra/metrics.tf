# The four outcomes, counted from the service's log lines: the first word of the message is the outcome.
resource "google_logging_metric" "messages" {
  name        = "commercetools-segment/messages"
  description = "Deliveries of a message by their outcome: Delivered, Ignored, Refused, Failed"

  filter = <<-EOT
    resource.type="cloud_run_revision"
    resource.labels.service_name="${local.name}"
    jsonPayload.message=~"^(Delivered|Ignored|Refused|Failed)"
  EOT

  label_extractors = {
    outcome = "REGEXP_EXTRACT(jsonPayload.message, \"^(Delivered|Ignored|Refused|Failed)\")"
  }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    labels {
      key         = "outcome"
      value_type  = "STRING"
      description = "Delivered, Ignored, Refused or Failed"
    }
  }

  depends_on = [google_project_service.api]
}

# How many events share a call: the service logs one line for each call, with the number of its events.
resource "google_logging_metric" "segment_calls" {
  name        = "commercetools-segment/segment-calls"
  description = "Confirmed calls to Segment by the number of events in each; calls per message is 1 / its mean"

  filter = <<-EOT
    resource.type="cloud_run_revision"
    resource.labels.service_name="${local.name}"
    jsonPayload.message="Sent to Segment"
  EOT

  value_extractor = "EXTRACT(jsonPayload.events)"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
  }

  depends_on = [google_project_service.api]
}

# How far a backfill is: each task logs a line every ten seconds, and one at its end.
resource "google_logging_metric" "backfill" {
  for_each = {
    share = "How far a task of a backfill is, in percent"
    rate  = "Customers or orders that a task of a backfill reads in a second"
  }

  name        = "commercetools-segment/backfill-${each.key}"
  description = each.value

  filter = <<-EOT
    resource.type="cloud_run_job"
    resource.labels.job_name="${local.job_names["backfill"]}"
    jsonPayload.message=~"^Backfill(ing|ed): "
  EOT

  value_extractor  = "EXTRACT(jsonPayload.${each.key})"
  label_extractors = { task = "EXTRACT(jsonPayload.task)" }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    labels {
      key         = "task"
      value_type  = "STRING"
      description = "The number of the task, from 1 on"
    }
  }

  depends_on = [google_project_service.api]
}
