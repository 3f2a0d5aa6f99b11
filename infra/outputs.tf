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
