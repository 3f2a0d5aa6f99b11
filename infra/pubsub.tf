# The path of a message: commercetools publishes, the subscription pushes, and unusable messages become dead letters.

locals {
  # Where Pub/Sub may store messages, which contain personal data. https://cloud.google.com/pubsub/docs/resource-location-restriction
  message_regions = var.message_regions == null ? [var.region] : var.message_regions
}

resource "google_pubsub_topic" "customers" {
  name       = "commercetools-customers"
  depends_on = [google_project_service.api]

  dynamic "message_storage_policy" {
    for_each = length(local.message_regions) == 0 ? [] : [local.message_regions]
    content {
      allowed_persistence_regions = message_storage_policy.value
    }
  }
}

# commercetools publishes a test message when its Subscription is created, so this grant must exist before.
resource "google_pubsub_topic_iam_member" "commercetools_publishes" {
  topic  = google_pubsub_topic.customers.id
  role   = "roles/pubsub.publisher"
  member = local.commercetools_publisher
}

resource "google_pubsub_subscription" "push" {
  name  = "customers-to-segment"
  topic = google_pubsub_topic.customers.id

  push_config {
    push_endpoint = local.address
    oidc_token {
      service_account_email = google_service_account.push.email
      audience              = local.address
    }
  }

  ack_deadline_seconds       = local.ack_deadline_seconds
  message_retention_duration = "${local.message_retention_seconds}s"

  retry_policy {
    minimum_backoff = "${local.retry_min_seconds}s"
    maximum_backoff = "${local.retry_max_seconds}s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letters.id
    max_delivery_attempts = local.retry_attempts
  }

  expiration_policy {
    ttl = "" # never expires; by default a month without activity deletes it
  }

  depends_on = [
    google_cloud_run_v2_service.service,
    google_cloud_run_v2_service_iam_member.push_invokes,
    google_pubsub_topic_iam_member.agent_writes_dead_letters,
  ]
}

# The dead letters. A topic alone keeps no messages; its subscription does.

resource "google_pubsub_topic" "dead_letters" {
  name       = "commercetools-customers-dead-letters"
  depends_on = [google_project_service.api]

  dynamic "message_storage_policy" {
    for_each = length(local.message_regions) == 0 ? [] : [local.message_regions]
    content {
      allowed_persistence_regions = message_storage_policy.value
    }
  }
}

resource "google_pubsub_subscription" "dead_letters" {
  name                       = "commercetools-customers-dead-letters"
  topic                      = google_pubsub_topic.dead_letters.id
  ack_deadline_seconds       = 600 # enough to read them by hand or by a job
  message_retention_duration = "${local.dead_letter_retention_seconds}s"

  expiration_policy {
    ttl = ""
  }
}

# The service publishes an unreadable message here at once, with the reason.
resource "google_pubsub_topic_iam_member" "service_writes_dead_letters" {
  topic  = google_pubsub_topic.dead_letters.id
  role   = "roles/pubsub.publisher"
  member = google_service_account.run.member
}

# Pub/Sub forwards a message here after a hundred failed deliveries. Without both grants it neither counts nor forwards.

resource "google_pubsub_topic_iam_member" "agent_writes_dead_letters" {
  topic  = google_pubsub_topic.dead_letters.id
  role   = "roles/pubsub.publisher"
  member = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "agent_takes_from_push" {
  subscription = google_pubsub_subscription.push.id
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}
