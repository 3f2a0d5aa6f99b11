# The service, its configuration, and who may call it.

locals {
  name = "commercetools-segment"

  # Cloud Run's deterministic address, which is known before the service exists. The service's settings and the push
  # token contain it, and Pub/Sub pushes to it. (https://cloud.google.com/run/docs/triggering/https-request)
  address = "https://${local.name}-${data.google_project.this.number}.${var.region}.run.app"

  # Each is requested by its name, and the API client must have it: docs/deploy.md, step 2.
  scopes = concat(
    ["view_customers", "view_customer_groups"],
    var.orders == "on" ? ["view_orders", "view_payments", "view_discount_codes"] : [],
  )

  limits = {
    cpu    = tostring(var.cpus)
    memory = var.memory
  }
  memory_mib = tonumber(trimsuffix(trimsuffix(var.memory, "Mi"), "Gi")) * (endswith(var.memory, "Gi") ? 1024 : 1)

  # The least and the most memory, in MiB, that Cloud Run gives with so many CPUs.
  # https://cloud.google.com/run/docs/configuring/services/memory-limits and …/services/cpu
  memory_with = {
    1 = [512, 4096], 2 = [512, 8192], 4 = [2048, 16384], 6 = [4096, 24576], 8 = [4096, 32768]
  }[var.cpus]

  # docs/configuration.md. The secrets are in secrets.tf.
  settings = merge(
    {
      SEGMENT_REGION       = var.segment_region
      SEGMENT_USER_ID      = var.segment_user_id
      SEGMENT_CLEAR_TRAITS = var.segment_clear_traits
      PUSH_AUTH            = var.push_auth
      PUSH_AUDIENCE        = local.address
      PUSH_SERVICE_ACCOUNT = google_service_account.push.email
      DEAD_LETTER_TOPIC    = google_pubsub_topic.dead_letters.id
      ERASURE              = var.erasure
      ORDERS               = var.orders
      ORDER_IMPORTS        = var.order_imports
      LOG_LEVEL            = var.log_level
    },
    var.commercetools == null ? {} : {
      CTP_PROJECT_KEY = var.commercetools.project_key
      CTP_CLIENT_ID   = var.commercetools.client_id
      CTP_AUTH_URL    = "https://auth.${var.commercetools.region}.commercetools.com"
      CTP_API_URL     = "https://api.${var.commercetools.region}.commercetools.com"
      CTP_SCOPES      = join(" ", [for scope in local.scopes : "${scope}:${var.commercetools.project_key}"])
    },
    local.mapping_file == "" ? {} : {
      MAPPING_FILE = local.mapping_file
    },
  )
}

resource "google_cloud_run_v2_service" "service" {
  name     = local.name
  location = var.region

  ingress              = var.ingress
  invoker_iam_disabled = var.push_auth == "oidc" # only then does the service itself check the token of a push
  custom_audiences     = [local.address]
  deletion_protection  = var.deletion_protection

  template {
    service_account = google_service_account.run.email
    timeout         = "${local.timeout_seconds}s"

    # Half of gunicorn's worker_connections, so that no push waits inside gunicorn while its ack deadline runs, and
    # probes and idle connections are accepted too. A push needs about a millisecond of CPU and otherwise only waits, so
    # one CPU is enough for 500 of them, and those that wait together share calls to Segment and commercetools.
    max_instance_request_concurrency = 500

    scaling {
      min_instance_count = var.min_instances
      max_instance_count = var.max_instances
    }

    dynamic "volumes" {
      for_each = var.mapping_secret[*]
      content {
        name = "mapping"
        secret {
          secret = volumes.value.secret
          items {
            path    = "mapping.toml"
            version = volumes.value.version
          }
        }
      }
    }

    containers {
      image = local.first_image

      dynamic "volume_mounts" {
        for_each = var.mapping_secret[*]
        content {
          name       = "mapping"
          mount_path = local.mapping_folder
        }
      }

      ports {
        container_port = 8080
      }

      resources {
        limits            = local.limits
        cpu_idle          = true # CPU is paid only during requests: all work is done before the answer
        startup_cpu_boost = true
      }

      startup_probe {
        period_seconds    = 1
        timeout_seconds   = 1
        failure_threshold = 30
        http_get {
          path = "/health"
        }
      }

      # Restarts a process that hangs, not one that is busy: a minute and a half without an answer.
      liveness_probe {
        period_seconds    = 30
        timeout_seconds   = 10
        failure_threshold = 3
        http_get {
          path = "/health"
        }
      }

      dynamic "env" {
        for_each = local.settings
        content {
          name  = env.key
          value = env.value
        }
      }

      # Read when an instance starts. A fixed version, so that two instances never use different keys.
      dynamic "env" {
        for_each = local.pinned
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = env.value.secret
              version = env.value.version
            }
          }
        }
      }
    }
  }

  lifecycle {
    # Only infra/builds/deploy.yaml deploys an image, by digest. Terraform would restore the image that it knows,
    # which is the wrong one after a roll-back. The other two attributes say which tool deployed last.
    ignore_changes = [template[0].containers[0].image, client, client_version]

    # When the region changes, the new service exists and receives pushes before the old one is deleted.
    create_before_destroy = true

    precondition {
      condition     = var.mapping_file == "" || var.mapping_secret == null
      error_message = "mapping_file and mapping_secret are two places for one file: set one of them."
    }

    precondition {
      condition     = var.orders == "off" || var.commercetools != null
      error_message = "orders = \"on\" needs commercetools: an order is always read."
    }

    precondition {
      condition     = local.memory_mib >= local.memory_with[0] && local.memory_mib <= local.memory_with[1]
      error_message = "cpus = ${var.cpus} goes with a memory of ${local.memory_with[0]}Mi to ${local.memory_with[1]}Mi, not ${var.memory}."
    }

    postcondition {
      condition     = contains(self.urls, local.address)
      error_message = "Cloud Run did not give the service the address ${local.address}: pushes would go nowhere."
    }
  }

  depends_on = [
    google_project_service.api,
    google_secret_manager_secret_iam_member.run_reads,
    google_secret_manager_secret_iam_member.run_reads_mapping,
  ]
}

# Only the push account has the invoker role. push_auth = "oidc" grants it to nobody else: it disables the check.
resource "google_cloud_run_v2_service_iam_member" "push_invokes" {
  name     = google_cloud_run_v2_service.service.name
  location = google_cloud_run_v2_service.service.location
  role     = "roles/run.invoker"
  member   = google_service_account.push.member
}
