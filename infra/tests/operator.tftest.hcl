# What the operator's commands take for the service's settings is what the service has.
mock_provider "google" {
  source = "./tests/mocks"
}

run "the_operators_commands_get_every_setting_of_the_service" {
  variables {
    erasure = "every"
    orders  = "on"
  }

  assert {
    condition = alltrue([
      for e in google_cloud_run_v2_service.service.template[0].containers[0].env :
      contains(split("\n", output.operator_environment), "${e.name}=${length(e.value_source) > 0 ? "" : e.value}")
    ])
    error_message = "a command would run with another setting than the service"
  }
}

run "no_secret_has_a_value_there" {
  variables {
    erasure = "every"
  }

  assert {
    condition = alltrue([
      for name in ["SEGMENT_WRITE_KEY", "CTP_CLIENT_SECRET", "SEGMENT_PUBLIC_API_TOKEN"] :
      contains(split("\n", output.operator_environment), "${name}=")
    ])
    error_message = "a secret is written into a file of the operator's"
  }
}

run "the_operators_commands_get_the_names_of_what_the_service_is_wired_to" {
  assert {
    condition = alltrue([
      for line in [
        "PUBSUB_TOPIC=${google_pubsub_topic.customers.id}",
        "PUBSUB_SUBSCRIPTION=${google_pubsub_subscription.push.id}",
        "DEAD_LETTER_SUBSCRIPTION=${google_pubsub_subscription.dead_letters.id}",
      ] : contains(split("\n", output.operator_environment), line)
    ])
    error_message = "a command would look at another topic or subscription"
  }
}
