"""Objects judged before they are sent: by dicom3tools in child processes, and by checks that it lacks."""
