output "address" {
  description = "The address that Pub/Sub pushes to."
  value       = local.address
}

output "topic" {
  description = "The topic for the commercetools Subscription."
  value       = google_pubsub_topic.customers.name
}

output "images" {
  description = "The repository that cloudbuild.yaml pushes images to."
  value       = "${local.images}/service"
}

output "operator_environment" {
  description = <<-TEXT
    The service's settings for the operator's commands, as NAME=value lines for --env-file (docs/operations.md). It has
    no secret: each is named without a value, and the commands ask for it or take it from the shell.
  TEXT
  value = join("", [
    for name, value in merge(
      local.settings,
      { for name, secret in local.secrets : name => "" },
      {
        PUBSUB_TOPIC             = google_pubsub_topic.customers.id
        PUBSUB_SUBSCRIPTION      = google_pubsub_subscription.push.id
        DEAD_LETTER_SUBSCRIPTION = google_pubsub_subscription.dead_letters.id
      },
    ) : "${name}=${value}\n"
  ])
}
