# The way of a message: what is pushed where, as whom, and what happens to what cannot be handled.
mock_provider "google" {
  source = "./tests/mocks"
}

run "the_push_is_for_the_address_of_the_service" {
  assert {
    condition     = contains(google_cloud_run_v2_service.service.urls, google_pubsub_subscription.push.push_config[0].oidc_token[0].audience)
    error_message = "the token's audience is not the service's address"
  }
  assert {
    condition     = google_pubsub_subscription.push.push_config[0].push_endpoint == google_pubsub_subscription.push.push_config[0].oidc_token[0].audience
    error_message = "it is pushed elsewhere than the token is for"
  }
  assert {
    condition     = contains(google_cloud_run_v2_service.service.custom_audiences, google_pubsub_subscription.push.push_config[0].oidc_token[0].audience)
    error_message = "Cloud Run does not know the audience"
  }
  assert {
    condition     = one([for e in google_cloud_run_v2_service.service.template[0].containers[0].env : e.value if e.name == "PUSH_AUDIENCE"]) == google_pubsub_subscription.push.push_config[0].oidc_token[0].audience
    error_message = "the service expects another audience"
  }
}

run "the_push_is_by_the_account_that_the_service_expects" {
  assert {
    condition     = google_pubsub_subscription.push.push_config[0].oidc_token[0].service_account_email == "push@shop.iam.gserviceaccount.com"
    error_message = "it is pushed as another account"
  }
  assert {
    condition     = one([for e in google_cloud_run_v2_service.service.template[0].containers[0].env : e.value if e.name == "PUSH_SERVICE_ACCOUNT"]) == "push@shop.iam.gserviceaccount.com"
    error_message = "the service expects another account"
  }
}

run "commercetools_may_publish_to_the_topic_of_the_push_subscription" {
  assert {
    condition     = google_pubsub_topic_iam_member.commercetools_publishes.member == "serviceAccount:subscriptions@commercetools-platform.iam.gserviceaccount.com"
    error_message = "that is not the account commercetools publishes as"
  }
  assert {
    condition     = google_pubsub_topic_iam_member.commercetools_publishes.role == "roles/pubsub.publisher" && google_pubsub_topic_iam_member.commercetools_publishes.topic == google_pubsub_subscription.push.topic
    error_message = "commercetools cannot publish to the topic that is pushed"
  }
}

run "pubsub_itself_can_set_a_message_aside" {
  assert {
    condition = alltrue([
      for member in [google_pubsub_topic_iam_member.agent_writes_dead_letters.member, google_pubsub_subscription_iam_member.agent_takes_from_push.member] :
      member == "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"
    ])
    error_message = "that is not Pub/Sub's own account in this project"
  }
  assert {
    condition     = google_pubsub_topic_iam_member.agent_writes_dead_letters.role == "roles/pubsub.publisher" && google_pubsub_topic_iam_member.agent_writes_dead_letters.topic == google_pubsub_subscription.push.dead_letter_policy[0].dead_letter_topic
    error_message = "Pub/Sub cannot publish to the dead-letter topic"
  }
  assert {
    condition     = google_pubsub_subscription_iam_member.agent_takes_from_push.role == "roles/pubsub.subscriber" && google_pubsub_subscription_iam_member.agent_takes_from_push.subscription == google_pubsub_subscription.push.id
    error_message = "Pub/Sub cannot take a dead letter from the push subscription"
  }
}

run "dead_letters_are_kept_whoever_set_them_aside" {
  assert {
    condition     = google_pubsub_subscription.dead_letters.topic == google_pubsub_subscription.push.dead_letter_policy[0].dead_letter_topic
    error_message = "the dead-letter topic has no subscription: it keeps nothing"
  }
  assert {
    condition     = one([for e in google_cloud_run_v2_service.service.template[0].containers[0].env : e.value if e.name == "DEAD_LETTER_TOPIC"]) == google_pubsub_subscription.dead_letters.topic
    error_message = "the service sets its dead letters aside elsewhere"
  }
  assert {
    condition     = google_pubsub_topic_iam_member.service_writes_dead_letters.topic == google_pubsub_subscription.dead_letters.topic && google_pubsub_topic_iam_member.service_writes_dead_letters.member == google_service_account.run.member
    error_message = "the service cannot publish a dead letter"
  }
  assert {
    condition     = google_pubsub_subscription.dead_letters.message_retention_duration == "2678400s"
    error_message = "dead letters are not kept for 31 days"
  }
  assert {
    condition     = length(google_pubsub_subscription.dead_letters.push_config) == 0
    error_message = "dead letters are pushed away"
  }
}

run "no_subscription_expires" {
  assert {
    condition     = google_pubsub_subscription.push.expiration_policy[0].ttl == "" && google_pubsub_subscription.dead_letters.expiration_policy[0].ttl == ""
    error_message = "a quiet month ends a subscription"
  }
}
