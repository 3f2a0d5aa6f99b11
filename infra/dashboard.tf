# The dashboard. dashboard.json is plain JSON, as the console exports it.
resource "google_monitoring_dashboard" "dashboard" {
  dashboard_json = file("${path.module}/dashboard.json")

  depends_on = [google_logging_metric.messages, google_logging_metric.segment_calls, google_logging_metric.backfill]
}
